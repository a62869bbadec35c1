"""What of single patients goes into a paper: a simulation may show it, since it may open the sites' own folders."""
