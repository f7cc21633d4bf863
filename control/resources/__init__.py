"""The control plane's paths, a class each; `control.app` says which is where."""
