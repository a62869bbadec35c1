"""What a round's updates become: one file a server step, and the progress that they change."""
