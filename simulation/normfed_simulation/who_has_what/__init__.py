"""A page that shows who has what: the people of every site of a dataset, before anything is trained."""
