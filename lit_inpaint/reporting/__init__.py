"""What `python -m lit_inpaint.report` puts on a page: runs as they lie on disk, pictures, charts, and the HTML around them."""
