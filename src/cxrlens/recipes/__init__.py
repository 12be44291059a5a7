"""Recipes: one typed file that tells a whole run."""
