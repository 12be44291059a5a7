"""A model at work: an API and a page for programs and people, a DICOM node for a PACS, exported bundles."""
