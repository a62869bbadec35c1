"""What a server keeps on disk: its folder, keys and certificates, who is admitted, which runs there are."""
