"""What a notebook calls: the package `normfed` takes its names from here."""
