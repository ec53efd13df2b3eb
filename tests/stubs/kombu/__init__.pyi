from kombu.connection import Connection as Connection
from kombu.entity import Exchange as Exchange
from kombu.entity import Queue as Queue
from kombu.messaging import Consumer as Consumer
from kombu.messaging import Producer as Producer
from kombu.utils.uuid import uuid as uuid
