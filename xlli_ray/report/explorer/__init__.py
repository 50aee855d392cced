"""The explorer: the interactive part of a study's page.

`web/` is its program (TypeScript), `bundle/` the same as shipped, and the modules here give it what it shows, in parts (`parts`): from disk
as scripts beside the page (`write`), from a server (`xlli view`) or to a notebook when asked.
"""
