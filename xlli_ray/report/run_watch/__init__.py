"""How a run stands, shown while it goes on: in place on a terminal, as lines elsewhere, as JSON or Prometheus text for programs."""
