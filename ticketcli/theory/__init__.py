"""The paper's two theorems as numerical experiments, with the controls that say what they do not show."""
