"use strict";
const format = (value) =>
  value === null ? "not a number" : value === 0 ? "0" : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6 ? String(+value.toPrecision(5)) : value.toExponential(3);

for (const figure of document.querySelectorAll(".chart")) {
  const about = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const [first, last, left, right] = about.x;
  const steps = [...new Set(about.lines.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  figure.append(tip);
  const hide = () => {
    tip.hidden = true;
    cursor.setAttribute("visibility", "hidden");
  };
  svg.addEventListener("pointermove", (event) => {
    if (!steps.length) return;
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const wanted = first + ((x - left) / (right - left)) * (last - first);
    const step = steps.reduce((best, one) => (Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best));
    const place = left + ((step - first) / (last - first)) * (right - left);
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    cursor.setAttribute("visibility", "visible");
    tip.replaceChildren();
    const head = document.createElement("b");
    head.textContent = `step ${step.toLocaleString("en")}`;
    tip.append(head);
    for (const line of about.lines) {
      const point = line.points.find((one) => one[0] === step);
      if (!point) continue;
      const row = document.createElement("span");
      const name = document.createElement("i");
      const value = document.createElement("span");
      name.textContent = line.name;
      name.className = `c${line.colour}`;
      value.textContent = `${format(point[1])} ${about.unit}`;
      row.append(name, value);
      tip.append(row);
    }
    tip.hidden = false;
    const frame = figure.getBoundingClientRect();
    const at = box.left - frame.left + (place / svg.viewBox.baseVal.width) * box.width;
    tip.style.left = `${at > frame.width / 2 ? Math.max(4, at - tip.offsetWidth - 12) : at + 12}px`;
    tip.style.top = `${svg.offsetTop + 12}px`;
  });
  svg.addEventListener("pointerleave", hide);
}

for (const box of document.querySelectorAll(".steps")) {
  const images = [...box.querySelectorAll("img")];
  const slider = box.querySelector("input");
  const label = box.querySelector("output");
  if (!slider) continue;
  slider.addEventListener("input", () => {
    images.forEach((image, place) => (image.hidden = place !== Number(slider.value)));
    label.textContent = `step ${Number(images[slider.value].dataset.step).toLocaleString("en")}`;
  });
}

for (const card of document.querySelectorAll(".compare")) {
  const stack = card.querySelector(".stack");
  const under = stack.querySelector(".under");
  const images = JSON.parse(card.querySelector("script").textContent);
  stack.querySelector("input").addEventListener("input", (event) => stack.style.setProperty("--cut", `${event.target.value}%`));
  card.querySelector("select").addEventListener("change", (event) => (under.src = images[event.target.value]));
}

const filter = document.querySelector("#only-differences");
if (filter) {
  const apply = () => document.querySelector(".settings").classList.toggle("few", filter.checked);
  filter.addEventListener("change", apply);
  apply();
}

document.querySelector("#theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));
