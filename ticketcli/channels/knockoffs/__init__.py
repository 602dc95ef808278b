"""Where control images and features come from: sources of knockoffs, how they are trained, and how good they are."""
