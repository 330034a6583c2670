"""The presets: studies that come with the package."""
