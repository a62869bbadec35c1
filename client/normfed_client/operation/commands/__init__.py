"""What `normfed site` can do: a module for each family of commands."""
