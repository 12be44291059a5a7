"""Faults of a user's input, each one clear sentence that names the file or key and the way out.

Everything that a user can get wrong is raised as a `CxrlensError`; the command line prints its
sentence without a traceback, and a batch counts it and goes on with the rest.
"""


class CxrlensError(Exception):
    """A fault that the user can mend; its text is the whole message."""


class FilmError(CxrlensError):
    """A film that cannot be read: broken, empty, too large, or no radiograph file at all."""


class CollectionError(CxrlensError):
    """A table of films that breaks a promise: a missing column, an unknown label, a split patient."""


class RecipeError(CxrlensError):
    """A recipe with an unknown key or a wrong value."""


class RunError(CxrlensError):
    """A run folder that is incomplete, broken, or from a version that cannot be read."""


class OutputError(CxrlensError):
    """A place that cannot be written: it exists already, is read-only, or the disk is full."""


class MissingExtraError(CxrlensError):
    """A package is needed that a plain installation does not bring."""


class BundleError(CxrlensError):
    """An exported bundle that is incomplete, changed, or from a version that cannot be read."""
