"""From a corpus folder to an encoder: what is trained, the plan of a run, the run."""
