"""Faithfulness: are the maps of a study true?"""
