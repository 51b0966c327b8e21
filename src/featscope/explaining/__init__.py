"""Why a detection is there: its source in the raw output, and what of the image and the features made it."""
