"""How fast the pictures answer: real mouse drags in JupyterLab, in a headless browser."""
