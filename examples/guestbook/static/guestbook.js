// Comforts only: the page does everything without this file.
"use strict";

const text = document.getElementById("text");
const counter = document.createElement("span");
counter.className = "counter";
counter.setAttribute("aria-hidden", "true"); // maxlength already tells a screen reader
document.querySelector("label[for=text]").append(counter);
const countCharacters = () => { counter.textContent = `${text.value.length} / ${text.maxLength}`; };
text.addEventListener("input", countCharacters);
countCharacters();

const picture = document.getElementById("picture");
const preview = document.getElementById("preview");
picture.addEventListener("change", () => {
  URL.revokeObjectURL(preview.src);
  const [file] = picture.files;
  preview.hidden = true; // until it has proved to be a picture
  if (file) preview.src = URL.createObjectURL(file);
});
preview.addEventListener("load", () => { preview.hidden = false; });

// Times are written in UTC by the server; show them as the visitor's clock does.
const format = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "short" });
for (const time of document.querySelectorAll("time")) {
  time.title = time.textContent;
  time.textContent = format.format(new Date(time.dateTime));
}

// Follow a stream to its newest line, unless the visitor scrolled up.
const stream = document.querySelector("iframe[name=stream-frame]");
let follower = 0;
document.querySelector("form[target=stream-frame]").addEventListener("submit", () => {
  clearInterval(follower);
  follower = setInterval(() => {
    const page = stream.contentDocument?.scrollingElement;
    if (page && page.scrollHeight - page.scrollTop - page.clientHeight < 60) page.scrollTop = page.scrollHeight;
  }, 150);
});
stream.addEventListener("load", () => clearInterval(follower));
