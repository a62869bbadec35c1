"""The documentation as a site: pages in `deploy/guides`, whose lists are made from the code when the site is built."""
