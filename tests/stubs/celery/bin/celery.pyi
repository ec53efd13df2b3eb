import click

celery: click.Group
