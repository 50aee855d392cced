"""Pure numerics with papers behind them: arrays in, numbers out. Knows no file, no Ray, no torch."""
