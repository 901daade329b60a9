"""Where the pages of the site are."""

from django.urls import include, path
from django.views.generic import RedirectView

from tests.sites.allauth_site import views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="posts")),
    path("posts/", views.posts, name="posts"),
    path("sign-out-everywhere/", views.sign_out_everywhere, name="sign_out_everywhere"),
    path("accounts/", include("allauth.urls")),
    path("test/counters/", views.counters),
    path("test/sign-out-everywhere/", views.end_sessions_of),
]
