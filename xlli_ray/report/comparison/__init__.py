"""`xlli report A B`: two studies on one page, side by side where samples, networks or stages are the same."""
