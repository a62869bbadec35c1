"""A voxel at a time: intensities in units that compare, and what age and sex make of them."""
