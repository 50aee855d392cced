"""A sample, an array, a map as people see them in a notebook: pictures, small HTML, files."""
