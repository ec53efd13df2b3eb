from flower.app import Flower
from tornado.web import RequestHandler

class BaseHandler(RequestHandler):
    application: Flower
