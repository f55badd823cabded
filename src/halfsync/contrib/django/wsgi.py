"""The application of a Django project, with the static files of its applications, for development."""

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import get_internal_wsgi_application

application = StaticFilesHandler(get_internal_wsgi_application())
