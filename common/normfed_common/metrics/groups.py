"""The group of people that figures are always told of."""

EVERYBODY = "all"
