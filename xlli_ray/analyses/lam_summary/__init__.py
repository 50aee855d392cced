"""What a study's attribution maps say together: `analysis` is the stage."""
