"""Harmonization learnt from people scanned on two scanners: pairs, their patches, and networks of three views."""
