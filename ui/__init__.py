"""The playground: the only package that imports gradio. `ui.layout.build_demo` makes the page; `app.py` launches it."""
