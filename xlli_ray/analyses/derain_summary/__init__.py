"""Did the networks learn the image or the rain? Removal and damage on seen and unseen rain: `derain_summary.analysis`."""
