"""cxrlens: normal, pneumonia or tuberculosis on a chest radiograph, and what the answer is worth."""
