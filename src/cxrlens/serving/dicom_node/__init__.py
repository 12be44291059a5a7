"""A DICOM node beside a PACS: films come in by C-STORE, results go back into the same study.

``receiver`` takes films into the ``spool``; ``worker`` predicts them and lays a Secondary Capture
(``capture``) and a TID 1500 report (``structured_report``) into the spool; ``courier`` carries those
to a ``destination``. Each step is one atomic move on the disk, so that the program may end anywhere.
It needs the extra ``dicom``; `cxrlens.errors.need` checks it.
"""
