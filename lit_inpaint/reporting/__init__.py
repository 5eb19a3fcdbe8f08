"""Build the HTML page of `python -m lit_inpaint.report`: load runs, lay out charts, choose images, fill the template."""
