"""Units of sizes that people read, in bytes: decimal, as disks and networks are sold."""

MEGABYTE = 1e6
GIGABYTE = 1e9
