"""`xlli view`: a study's page and explorer from a server on this machine, in which every sample and every array can be opened.

It reads only, listens on the loopback interface only, and answers only those who know its link (`guard`, docs/security.md).
"""
