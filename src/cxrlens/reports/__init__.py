"""Pages for people: the only room that writes HTML. Each page takes data and is one self-contained file."""
