"""The operator's machine: its folder, its certificates, who may join, and the processes that serve runs."""
