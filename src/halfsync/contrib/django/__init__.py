"""A Django application that makes `manage.py runserver` serve with halfsync.

Put "halfsync.contrib.django" into INSTALLED_APPS, before "django.contrib.staticfiles" if that is there: Django takes a
command from the first application that has it.
"""
