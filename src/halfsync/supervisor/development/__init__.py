"""The development server: it watches the sources, and shows errors in the browser."""
