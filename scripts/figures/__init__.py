"""The figures of docs/networks, drawn by `make figures`; one file per network with a function draw(canvas)."""
