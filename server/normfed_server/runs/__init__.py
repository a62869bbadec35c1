"""A run on the server: its folder, how it begins, is watched, steered, put into words and handed on."""
