"""Pure numerics from published methods: arrays in, numbers out. No files, no Ray, no torch."""
