"""Deletion and insertion: does a map rank pixels by what the network really uses?"""
