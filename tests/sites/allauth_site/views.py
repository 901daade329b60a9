"""The signed-in work page, signing out everywhere, and what tests ask the site."""

from allauth.usersessions.adapter import get_adapter
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tests.sites.allauth_site.devices import NOTICE_SUBJECT
from tests.sites.allauth_site.models import Device, Post, SentMail, SignIn


class PostForm(forms.ModelForm):
    """What a user fills in to publish a post."""

    class Meta:
        model = Post
        fields = ("text",)


@login_required
@require_http_methods(["GET", "POST"])
def posts(request: HttpRequest) -> HttpResponse:
    """List the user's posts, newest first, and publish another."""
    form = PostForm(request.POST or None, label_suffix="")
    if form.is_valid():
        form.instance.user = request.user
        form.save()
        return redirect("posts")
    own_posts = Post.objects.filter(user=request.user).order_by("-pk")
    return render(request, "posts.html", {"form": form, "posts": own_posts})


@login_required
@require_POST
def sign_out_everywhere(request: HttpRequest) -> HttpResponse:
    """End all sessions of the user, this one too."""
    _end_sessions(request.user)
    logout(request)
    return redirect("account_login")


@require_GET
def counters(request: HttpRequest) -> JsonResponse:
    """Tell a test what a user has done, as the site sees it."""
    user = get_object_or_404(User, email=request.GET.get("email"))
    notices = SentMail.objects.filter(to=user.email, subject=NOTICE_SUBJECT)
    return JsonResponse(
        {
            "sign_ins": SignIn.objects.filter(user=user).count(),
            "notices": notices.count(),
            "devices": Device.objects.filter(user=user).count(),
            "posts": Post.objects.filter(user=user).count(),
        }
    )


@csrf_exempt
@require_POST
def end_sessions_of(request: HttpRequest) -> JsonResponse:
    """Do for a test what the user's own button does."""
    user = get_object_or_404(User, email=request.GET.get("email"))
    return JsonResponse({"ended": _end_sessions(user)})


def _end_sessions(user: User) -> int:
    sessions = list(UserSession.objects.filter(user=user))
    get_adapter().end_sessions(sessions)
    return len(sessions)
