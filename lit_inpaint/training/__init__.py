"""What `lit_inpaint.engine` stands on: the plan of a run, and each thing that has to be right around one batch."""
