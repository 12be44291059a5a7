"""A DICOM node beside a PACS: films come in by C-STORE, results go back into the same study."""
